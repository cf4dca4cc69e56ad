package changelog

import (
	"context"
	"strings"
)

// PutNewer stores the manifest of a newer program.
func PutNewer(ctx context.Context, c *Checkpoints, task string, next int64) error {
	m := &Manifest{
		Format: manifestFormat + 1, Application: c.Application, Task: task, Created: c.Clock().UnixMilli(),
		Stores: []ManifestStore{{Name: "kv", Log: "log", Next: next}},
	}
	_, err := c.putManifest(ctx, m)
	return err
}

// ReadName reads a manifest that names a file.
func ReadName(name string) error {
	m := &Manifest{Format: manifestFormat, Files: []ManifestFile{{Name: name, Hash: strings.Repeat("0", 64)}}}
	b, err := m.encode()
	if err == nil {
		_, err = decodeManifest(b)
	}
	return err
}
