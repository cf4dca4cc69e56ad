package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func (p *program) versionCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:   "version",
		Usage:  "print the module's version, the commit and the version of Go",
		Action: p.printVersion,
	}, 0, 0)
}

// versionFlag is for those who try that first.
func versionFlag() cli.Flag {
	return &cli.BoolFlag{Name: "version", Usage: "print what the command version prints", DisableDefaultText: true}
}

func (p *program) printVersion(*cli.Context) error {
	info, _ := debug.ReadBuildInfo()
	_, err := fmt.Fprintln(p.out, describeBuild(info))
	return err
}

// describeBuild describes what was built, as far as the linker noted it: tests
// and builds outside a repository have no commit, and info may be nil.
func describeBuild(info *debug.BuildInfo) string {
	version, commit, modified := "(devel)", "unknown", ""
	if info != nil {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = ", modified"
			}
		}
	}
	return fmt.Sprintf("millrace %s, commit %s%s, %s %s/%s", version, commit, modified, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
