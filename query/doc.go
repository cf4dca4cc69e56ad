// Package query answers questions about the state of an application over HTTP.
package query
