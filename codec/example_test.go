package codec_test

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

type click struct {
	Page string `json:"page"`
	Ms   int64  `json:"ms"`
}

func Example() {
	clicks := codec.Msgpack[click](codec.Strict())
	b, err := clicks.Append(nil, click{Page: "/docs", Ms: 12})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := clicks.Decode(b)
	fmt.Println(len(b), "bytes:", c, err)

	_, err = codec.Int64.Decode([]byte("seven"))
	fmt.Println(err)
	// Output:
	// 16 bytes: {/docs 12} <nil>
	// codec: cannot decode an int64 from 5 bytes: want 8
}

func ExampleParseKey() {
	b, err := codec.ParseKey(codec.Int64, "12")
	fmt.Println(b, err)
	_, err = codec.ParseKey(codec.Int64, "a dozen")
	fmt.Println(err)
	// Output:
	// [0 0 0 0 0 0 0 12] <nil>
	// codec: bad key text "a dozen": want an integer of 64 bits: strconv.ParseInt: parsing "a dozen": invalid syntax
}

func ExampleAppendTimeWindowedKey() {
	key := codec.AppendTimeWindowedKey(nil, []byte("gpt-4o"), 60_000)
	inner, start, err := codec.SplitTimeWindowedKey(key)
	fmt.Println(string(inner), start, err, "partition", codec.Partition(inner, 4))
	// Output: gpt-4o 60000 <nil> partition 1
}
