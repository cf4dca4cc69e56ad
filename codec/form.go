package codec

// Form returns the name of the form in which a codec writes, if the codec says
// so with a method Form() string, else "". Two codecs of one name read one
// another's bytes. A topology compares the names at a start with those that the
// state was written under: a codec of your own whose bytes change should say so,
// by a version in its name, as in "orders/2".
func Form(c any) string {
	if f, ok := c.(interface{ Form() string }); ok {
		return f.Form()
	}
	return ""
}

// The names are of bytes, not of types: text and raw bytes are read as each
// other, and so are a time and its milliseconds.

// Form is "bytes".
func (stringCodec) Form() string { return "bytes" }

// Form is "bytes".
func (bytesCodec) Form() string { return "bytes" }

// Form is "int32".
func (int32Codec) Form() string { return "int32" }

// Form is "int64".
func (int64Codec) Form() string { return "int64" }

// Form is "float64".
func (float64Codec) Form() string { return "float64" }

// Form is "int64".
func (timeCodec) Form() string { return "int64" }

// Form is "uuid".
func (uuidCodec) Form() string { return "uuid" }

// Form is "uuid-text".
func (uuidTextCodec) Form() string { return "uuid-text" }

// Form is "json", whatever the type.
func (jsonCodec[T]) Form() string { return "json" }

// Form is "msgpack", whatever the type.
func (*msgpackCodec[T]) Form() string { return "msgpack" }
