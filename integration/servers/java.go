package servers

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// CompileJava compiles a Java project, a pom.xml and sources beside it, into a
// folder, and returns the class path to run it with. The jars of the pom come as
// MavenJars brings them, under name.
func CompileJava(ctx context.Context, name string, project fs.FS, dir string) (classpath string, err error) {
	pom, err := fs.ReadFile(project, "pom.xml")
	if err != nil {
		return "", fmt.Errorf("servers: compile %s: %w", name, err)
	}
	jars, err := MavenJars(ctx, name, pom)
	if err != nil {
		return "", err
	}
	javac, err := JDKTool("javac")
	if err != nil {
		return "", err
	}
	source, classes, libs := filepath.Join(dir, "source"), filepath.Join(dir, "classes"), filepath.Join(jars, "*")
	if err := os.CopyFS(source, project); err != nil {
		return "", fmt.Errorf("servers: compile %s: %w", name, err)
	}
	files, err := filepath.Glob(filepath.Join(source, "*.java"))
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, javac, append([]string{"-d", classes, "-cp", libs}, files...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("servers: javac of %s: %w; its output ends:\n%s", name, err, tail(out, 20))
	}
	return classes + string(os.PathListSeparator) + libs, nil
}
