// Package postgres is a cold tier on PostgreSQL: closed windows as rows that
// stay for 90 days, and that an analyst can query.
//
// The types to know:
//
//   - Tier: the cold tier, a stores.Cold. Open one and hand it to
//     streams.Config.Cold; several instances, and several applications, may use
//     one database.
//   - Config: where the database is, and for how long rows stay.
//
// # Tables
//
// Everything lies in a schema of its own, millrace by default. Rows go to the
// table windows, with the value as JSON, or to a table of the application's
// own (stores.ColdTable) with columns of its own. Both are partitioned by the
// day, in UTC, in which a window starts. The primary key is application, store,
// key, start and end of the window. Views for people come with the application's
// table; they show all applications that share the database.
//
// A batch is copied into a temporary table and from there merged, in one
// transaction with the mark of how far the task is written. A row is overwritten
// by one of the same or a later place in the changelog, and by no earlier one.
//
// # Migrations
//
// The tables are made, and changed by later versions, when they are first
// needed, by whichever instance comes first: the others wait for its advisory
// lock. An instance that finds tables of a later version than its own goes on if
// the columns that it knows are there.
//
// # Retention
//
// Days whose windows have all started longer ago than Config.Retention, by the
// wall clock, are dropped as a whole, once an hour and by one instance at a time.
// What is older when it comes is left out and counted.
//
// # Caveats
//
//   - Windows that start or end outside of the years 1 to 9999 are left out and
//     counted.
//   - Text loses zero bytes, which PostgreSQL cannot keep, and JSON that has any
//     is null; bytes has the exact value.
//   - The role needs the right to make the schema, or to make tables in it.
package postgres
