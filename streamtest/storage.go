package streamtest

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// storage is where the tasks of an instance keep their state.
type storage interface {
	open(id processors.TaskID) (stores.Engine, error)
	// crash forgets what a crash would lose. The engines are still open, and
	// are closed later.
	crash()
	close()
	// save copies everything into a new folder while no engine is open, and load
	// copies it back.
	save(dir string) error
	load(dir string) error
}

func newStorage(cfg *config, instance int) (storage, error) {
	if !cfg.pebble {
		return memoryStorage{}, nil
	}
	return &pebbleStorage{
		fs:        vfs.NewCrashableMem(),
		rng:       rand.New(rand.NewPCG(uint64(cfg.seed), uint64(instance)+1)),
		resources: stores.NewPebbleResources(8<<20, 64, 8),
	}, nil
}

// memoryStorage loses everything with its engine.
type memoryStorage struct{}

func (memoryStorage) open(processors.TaskID) (stores.Engine, error) { return stores.NewMemory(), nil }
func (memoryStorage) crash()                                        {}
func (memoryStorage) close()                                        {}

// pebbleStorage keeps Pebble databases in a file system in memory.
type pebbleStorage struct {
	fs        *vfs.MemFS
	rng       *rand.Rand
	resources *stores.PebbleResources
}

func (p *pebbleStorage) open(id processors.TaskID) (stores.Engine, error) {
	return stores.OpenPebble(stores.PebbleConfig{Dir: id.String(), FS: p.fs, Resources: p.resources})
}

func (p *pebbleStorage) crash() {
	// From nothing that was not synced to nearly all of it.
	p.fs = p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.rng.IntN(100), RNG: p.rng})
}

func (p *pebbleStorage) close() { p.resources.Close() }
