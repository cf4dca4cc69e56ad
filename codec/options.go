package codec

// Option changes how JSON or Msgpack reads.
type Option func(*options)

type options struct {
	strict bool
}

// Strict refuses fields that the type does not have. By default they are
// skipped, so that a producer can add fields before its consumers know them.
func Strict() Option {
	return func(o *options) { o.strict = true }
}

func makeOptions(opts []Option) options {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// appender is an io.Writer, and the io.ByteWriter that msgpack asks for, that
// appends.
type appender struct {
	b []byte
}

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

func (a *appender) WriteByte(c byte) error {
	a.b = append(a.b, c)
	return nil
}
