package exact_test

import (
	"fmt"

	"github.com/millrace/millrace/internal/exact"
)

func Example() {
	var left, right exact.Sum
	left.Add(1e16)
	left.Add(1)
	right.Add(-1e16)
	left.Merge(&right)
	fmt.Println(left.Value())
	// Output:
	// 1
}
