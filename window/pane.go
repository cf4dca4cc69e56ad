package window

import "fmt"

// paneNames are the names of the kinds as results carry them.
var paneNames = [...]string{NoPane: "", EarlyPane: "early", OnTimePane: "on_time", LatePane: "late"}

// String returns the kind as results carry it: "early", "on_time", "late", or
// "" for NoPane.
func (k PaneKind) String() string {
	if int(k) < len(paneNames) {
		return paneNames[k]
	}
	return fmt.Sprintf("PaneKind(%d)", uint8(k))
}

// MarshalText returns the text of String. It fails for a kind that does not
// exist.
func (k PaneKind) MarshalText() ([]byte, error) {
	if int(k) >= len(paneNames) {
		return nil, fmt.Errorf("window: no pane kind %d", uint8(k))
	}
	return []byte(paneNames[k]), nil
}

// UnmarshalText reads what MarshalText writes, and nothing else.
func (k *PaneKind) UnmarshalText(text []byte) error {
	for i, name := range paneNames {
		if string(text) == name {
			*k = PaneKind(i)
			return nil
		}
	}
	return fmt.Errorf("window: pane kind %q: want %q, %q, %q or nothing", text,
		paneNames[EarlyPane], paneNames[OnTimePane], paneNames[LatePane])
}
