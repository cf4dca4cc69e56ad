package main

import (
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
)

func TestEachResponseGoesWhereItBelongs(t *testing.T) {
	top, err := split()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, top, streamtest.Topic("tokens-a", 1), streamtest.Topic("tokens-b", 1))
	responses := streamtest.Input(d, "responses", codec.String, codec.JSON[Response]())
	send := func(model string, status, tokens int) {
		responses.Send(model, Response{Model: model, Status: status, Tokens: tokens}, d.Now())
	}
	send("a", 200, 10)
	send("b", 200, 20)
	send("a", 429, 0)
	send("b", 500, 0)
	send("a", 200, 0) // without tokens: skipped
	responses.SendBytes(0, []byte("a"), []byte(`{"modell": "a"}`), d.Now())

	bad := streamtest.Output(d, "bad-responses", codec.String, codec.JSON[Response]()).All()
	if len(bad) != 2 || bad[0].Value.Status != 429 || bad[1].Value.Status != 500 {
		t.Errorf("bad responses: %+v, want 429 and 500", bad)
	}
	for topic, want := range map[string]int64{"tokens-a": 10, "tokens-b": 20} {
		got := streamtest.Output(d, topic, codec.String, codec.Int64).All()
		if len(got) != 1 || got[0].Value != want {
			t.Errorf("%s: %+v, want %d alone", topic, got, want)
		}
	}
	dead := streamtest.Output(d, "split-dlq", codec.String, codec.String).All()
	if len(dead) != 1 || dead[0].Value != `{"modell": "a"}` {
		t.Fatalf("dead letters: %+v, want the record with the unknown field", dead)
	}
	if at := string(dead[0].Header("__streams.errors.topic")); at != "responses" {
		t.Errorf("the dead letter says topic %q, want responses", at)
	}
}
