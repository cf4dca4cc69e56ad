package shuffle

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

// grace is Kafka Streams': twice the disorder.
const grace = 2 * time.Minute

//go:embed java/pom.xml java/*.java
var java embed.FS

// kafkaStreams runs Kafka Streams to the end of the input, in a JVM of its own.
func (s site) kafkaStreams(ctx context.Context, input, output, application string, _ Load) (run report, err error) {
	project, err := fs.Sub(java, "java")
	if err != nil {
		return run, err
	}
	classpath, err := servers.CompileJava(ctx, "kafka-streams-shuffle", project, filepath.Join(s.dir, "java"))
	if err != nil {
		return run, err
	}
	tool, err := servers.JDKTool("java")
	if err != nil {
		return run, err
	}
	cmd := exec.CommandContext(ctx, tool, "-XX:+UseSerialGC", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath,
		"Shuffle", s.broker, input, output, application, filepath.Join(s.dir, "kafka-streams"), strconv.Itoa(threads), ms(size), ms(grace))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return run, fmt.Errorf("shuffle: Kafka Streams: %w: %s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(stdout.Bytes(), &run); err != nil {
		return run, fmt.Errorf("shuffle: Kafka Streams has printed %.200q: %w", stdout.Bytes(), err)
	}
	return run, nil
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
