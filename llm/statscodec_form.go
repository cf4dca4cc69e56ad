package llm

import "fmt"

// Form names the layout of Stats with its version, so that state of another one
// is refused rather than misread.
func (statsCodec) Form() string { return fmt.Sprintf("llm.Stats/%d", statsVersion) }
