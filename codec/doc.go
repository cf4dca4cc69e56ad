// Package codec turns keys and values into bytes and back.
//
// A Codec[T] appends the encoding of a T to a slice and decodes a T from one.
// Codecs are given to a topology exactly where bytes are made or read: at
// sources, sinks, repartitions and stores. They are stateless, so one serves
// any number of goroutines.
//
//	topology.Source(b, "clicks", codec.String, codec.Msgpack[Click]())
//
// # Which codec
//
//   - String, Bytes, Int32, Int64, Float64 and UUIDText write what the
//     serializers of Apache Kafka's Java client write; use them for keys.
//   - Msgpack writes any struct, by reflection or, for types on a hot path,
//     by the type's own methods (MsgpackAppender, MsgpackParser).
//   - JSON is for topics that people or other languages read.
//   - UUID and Time are compact forms of our own.
//
// For any other format implement Codec: two methods.
//
// # Versions
//
// When the type of a store's values changes, Versioned reads those of before by
// steps, each From one version to the next, and marks what it writes. A topology
// upgrades what is in its stores by the way.
//
// # Aliasing
//
// Decode may return a value that points into its argument: String and Bytes do,
// and so do types that parse their own msgpack. That saves a copy a record, and
// asks two things. Nobody changes the bytes afterwards. And who keeps a small
// part of the value for long clones it (strings.Clone, bytes.Clone), or it pins
// the whole fetched batch. Package codectest has a codec that shows where this
// was forgotten.
//
// # Kafka Streams
//
// AppendWindowKey, AppendSessionKey, AppendTimeWindowedKey and their Split
// functions, OffsetMetadata and Partition are the byte forms of Kafka Streams,
// exact to the bit, for taking over its applications and for readers in Java.
//
// # Queries
//
// ParseKey and JSONValue translate between bytes and the text and JSON of HTTP
// queries.
//
// Errors wrap ErrDecode, ErrEncode, ErrText, ErrVersion or ErrUpgrade. Bytes left over behind a value
// are an error in every codec. encoding/json matches field names without regard
// to case, in strict mode too; msgpack does not.
package codec
