// Package delimited writes strings of bytes behind their lengths, as state and the
// messages of the group hold them: a length, as an unsigned varint of
// encoding/binary, and as many bytes.
//
// [Append] writes one, and [Cut] takes one off. What Cut is given may come from a
// disk or from another program: a length beyond what is there is refused, and nothing
// is allocated for it. Both are functions of their arguments alone: any number of
// goroutines may call them.
package delimited
