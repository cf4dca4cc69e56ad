package codec

import "testing"

func BenchmarkMsgpack(b *testing.B) {
	p := point{X: 1 << 40, S: "a string of some length"}
	for name, c := range map[string]Codec[point]{
		"own":        newMsgpack[point](options{}, true),
		"reflecting": newMsgpack[point](options{}, false),
		"json":       JSON[point](),
	} {
		encoded, err := c.Append(nil, p)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/append", func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, 256)
			for b.Loop() {
				if _, err := c.Append(buf, p); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
