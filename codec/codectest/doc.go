// Package codectest helps to test codecs, and code that uses them.
//
// RoundTrip and Refuses check that a codec keeps the contract of codec.Codec.
//
// Poison finds code that keeps a decoded value for longer than it may: decoded
// strings and bytes can point into a fetched batch, and a processor's value is
// valid only during the call. A poisoned codec spoils them on demand, so that
// the mistake shows as a wrong result instead of one in a million.
package codectest
