package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOrdersOverHTTPNeedTheConfiguredToken(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=200").wait(exitOK)
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	file := filepath.Join(dir, "config.yaml")
	for name, text := range map[string]string{token: "a-token-that-nobody-guesses\n", file: "http: {admin_token_file: " + token + "}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, url := serving(t, brokers, "--config", file, "--state", t.TempDir())
	post := func(order, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/admin/"+order, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		var client http.Client
		defer client.CloseIdleConnections()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := post("pause", "guessed"); status != http.StatusUnauthorized {
		t.Errorf("%d %s", status, body)
	}
	if status, body := post("pause", "a-token-that-nobody-guesses"); status != http.StatusOK || !strings.Contains(body, `"state"`) {
		t.Errorf("%d %s", status, body)
	}
	p.err.await(t, `"state":"(paused)"`)
	if body := get(t, url+"/readyz", http.StatusOK); !strings.Contains(body, "paused") {
		t.Error(body)
	}
	if status, body := post("resume", "a-token-that-nobody-guesses"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	p.err.await(t, `"state":"(running)"`)
	if strings.Contains(p.err.String()+p.out.String(), "nobody-guesses") {
		t.Error("the token was printed")
	}
	p.stop()
	p.wait(exitOK)

	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "run", brokers, "--config", file, "--state", t.TempDir()).wait(exitUsage).wants("at least 16")
}

func TestOrdersBySignalArePassedOn(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=200").wait(exitOK)
	orders := make(chan order)
	var out bytes.Buffer
	logs := newOutput()
	p := &program{in: strings.NewReader(""), out: &out, err: logs, env: func(string) (string, bool) { return "", false }, orders: orders}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- p.run(ctx, []string{"millrace", "run", brokers, "--http=127.0.0.1:0", "--state", t.TempDir()})
	}()
	logs.await(t, `"state":"(running)"`)
	orders <- togglePause
	logs.await(t, `"state":"(paused)"`)
	orders <- togglePause
	logs.await(t, "(resumed)")
	orders <- drain
	logs.await(t, `"state":"(draining)"`)
	orders <- togglePause
	stop()
	if code := <-done; code != exitOK {
		t.Errorf("exit %d: %s", code, logs)
	}
}
