package llm

import "github.com/millrace/millrace/internal/msgp"

// Feedback is what a user said about a response (UserFeedback).
type Feedback struct {
	Event
	// Rating goes from 1 (worst) to 5 (best).
	Rating int64
	// TaskCompleted says whether the user got done what they came for.
	TaskCompleted bool
	// DwellMS is how long the user stayed with the response, in milliseconds;
	// 0 or more.
	DwellMS int64
	// Comment is the user's own words, if there are any.
	Comment Optional[string]
}

// FeedbackTime returns the event time, in Unix milliseconds.
func FeedbackTime(v Feedback) int64 { return v.Timestamp }

// Validate reports the first field that is out of its range.
func (v *Feedback) Validate() error {
	c := checker{name: feedbackSchema.name}
	c.event(&v.Event)
	if v.Rating < 1 || v.Rating > 5 {
		c.fail("rating", v.Rating, "1 to 5")
	}
	c.notNegative("dwell_ms", v.DwellMS)
	return c.err
}

var feedbackSchema = schema{
	name: "feedback",
	fields: []string{"timestamp", "request_id", "session_id", "model",
		"rating", "task_completed", "dwell_ms", "comment"},
	required: eventRequired | 0b0111<<firstOwnField,
}

type feedbackCodec struct{ strict bool }

func (c feedbackCodec) Append(dst []byte, v Feedback) ([]byte, error) {
	if c.strict {
		if err := v.Validate(); err != nil {
			return dst, err
		}
	}
	dst = msgp.AppendMapLen(dst, 6+present(v.SessionID.ok, v.Comment.ok))
	dst = appendEvent(dst, &v.Event)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "rating"), v.Rating)
	dst = msgp.AppendBool(msgp.AppendStr(dst, "task_completed"), v.TaskCompleted)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "dwell_ms"), v.DwellMS)
	if v.Comment.ok {
		dst = msgp.AppendStr(msgp.AppendStr(dst, "comment"), v.Comment.value)
	}
	return dst, nil
}

func (c feedbackCodec) Decode(b []byte) (Feedback, error) {
	var v Feedback
	d := newDecoder(b, &feedbackSchema, c.strict)
	for d.next() {
		switch d.name {
		case "rating":
			v.Rating = d.int(firstOwnField)
		case "task_completed":
			v.TaskCompleted = d.bool(firstOwnField + 1)
		case "dwell_ms":
			v.DwellMS = d.int(firstOwnField + 2)
		case "comment":
			v.Comment = d.optionalStr(firstOwnField + 3)
		default:
			d.event(&v.Event)
		}
	}
	err := d.finish()
	if err == nil && c.strict {
		err = v.Validate()
	}
	if err != nil {
		return Feedback{}, err
	}
	return v, nil
}
