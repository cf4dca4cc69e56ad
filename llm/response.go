package llm

import "github.com/millrace/millrace/internal/msgp"

// Response is what a model sent back (ModelResponse).
type Response struct {
	Event
	// Status is the outcome as the serving side names it, such as "ok".
	Status string
	// FinishReason says why the model stopped, such as "stop" or "length".
	FinishReason string
	// LatencyMS is the time from request to complete response, in
	// milliseconds; 0 or more.
	LatencyMS float64
	// TTFTMS is the time to the first token, in milliseconds, 0 or more;
	// absent if the response was not streamed.
	TTFTMS Optional[float64]
	// PromptTokens and CompletionTokens are what the model read and wrote;
	// 0 or more.
	PromptTokens, CompletionTokens int64
}

// ResponseTime returns the event time, in Unix milliseconds.
func ResponseTime(v Response) int64 { return v.Timestamp }

// Validate reports the first field that is out of its range.
func (v *Response) Validate() error {
	c := checker{name: responseSchema.name}
	c.event(&v.Event)
	c.notEmpty("status", v.Status)
	c.amount("latency_ms", v.LatencyMS)
	c.amount("ttft_ms", v.TTFTMS.Or(0))
	c.notNegative("prompt_tokens", v.PromptTokens)
	c.notNegative("completion_tokens", v.CompletionTokens)
	return c.err
}

var responseSchema = schema{
	name: "response",
	fields: []string{"timestamp", "request_id", "session_id", "model",
		"status", "finish_reason", "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens"},
	required: eventRequired | 0b110111<<firstOwnField,
}

type responseCodec struct{ strict bool }

func (c responseCodec) Append(dst []byte, v Response) ([]byte, error) {
	if c.strict {
		if err := v.Validate(); err != nil {
			return dst, err
		}
	}
	dst = msgp.AppendMapLen(dst, 8+present(v.SessionID.ok, v.TTFTMS.ok))
	dst = appendEvent(dst, &v.Event)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "status"), v.Status)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "finish_reason"), v.FinishReason)
	dst = msgp.AppendFloat(msgp.AppendStr(dst, "latency_ms"), v.LatencyMS)
	if v.TTFTMS.ok {
		dst = msgp.AppendFloat(msgp.AppendStr(dst, "ttft_ms"), v.TTFTMS.value)
	}
	dst = msgp.AppendInt(msgp.AppendStr(dst, "prompt_tokens"), v.PromptTokens)
	return msgp.AppendInt(msgp.AppendStr(dst, "completion_tokens"), v.CompletionTokens), nil
}

func (c responseCodec) Decode(b []byte) (Response, error) {
	var v Response
	d := newDecoder(b, &responseSchema, c.strict)
	for d.next() {
		switch d.name {
		case "status":
			v.Status = d.str(firstOwnField)
		case "finish_reason":
			v.FinishReason = d.str(firstOwnField + 1)
		case "latency_ms":
			v.LatencyMS = d.float(firstOwnField + 2)
		case "ttft_ms":
			v.TTFTMS = d.optionalFloat(firstOwnField + 3)
		case "prompt_tokens":
			v.PromptTokens = d.int(firstOwnField + 4)
		case "completion_tokens":
			v.CompletionTokens = d.int(firstOwnField + 5)
		default:
			d.event(&v.Event)
		}
	}
	err := d.finish()
	if err == nil && c.strict {
		err = v.Validate()
	}
	if err != nil {
		return Response{}, err
	}
	return v, nil
}
