package llm

import "github.com/millrace/millrace/internal/msgp"

// Health is the state of one component of the serving side (SystemHealth).
type Health struct {
	Event
	// Component names the part that reports.
	Component string
	// Healthy is the component's own verdict.
	Healthy bool
	// CPU and Memory are the shares in use, from 0 to 1.
	CPU, Memory float64
	// QueueDepth is how many requests wait, 0 or more; absent if the component
	// has no queue.
	QueueDepth Optional[int64]
}

// HealthTime returns the event time, in Unix milliseconds.
func HealthTime(v Health) int64 { return v.Timestamp }

// Validate reports the first field that is out of its range.
func (v *Health) Validate() error {
	c := checker{name: healthSchema.name}
	c.event(&v.Event)
	c.notEmpty("component", v.Component)
	c.fraction("cpu", v.CPU)
	c.fraction("memory", v.Memory)
	c.notNegative("queue_depth", v.QueueDepth.Or(0))
	return c.err
}

var healthSchema = schema{
	name: "health",
	fields: []string{"timestamp", "request_id", "session_id", "model",
		"component", "healthy", "cpu", "memory", "queue_depth"},
	required: eventRequired | 0b01111<<firstOwnField,
}

type healthCodec struct{ strict bool }

func (c healthCodec) Append(dst []byte, v Health) ([]byte, error) {
	if c.strict {
		if err := v.Validate(); err != nil {
			return dst, err
		}
	}
	dst = msgp.AppendMapLen(dst, 7+present(v.SessionID.ok, v.QueueDepth.ok))
	dst = appendEvent(dst, &v.Event)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "component"), v.Component)
	dst = msgp.AppendBool(msgp.AppendStr(dst, "healthy"), v.Healthy)
	dst = msgp.AppendFloat(msgp.AppendStr(dst, "cpu"), v.CPU)
	dst = msgp.AppendFloat(msgp.AppendStr(dst, "memory"), v.Memory)
	if v.QueueDepth.ok {
		dst = msgp.AppendInt(msgp.AppendStr(dst, "queue_depth"), v.QueueDepth.value)
	}
	return dst, nil
}

func (c healthCodec) Decode(b []byte) (Health, error) {
	var v Health
	d := newDecoder(b, &healthSchema, c.strict)
	for d.next() {
		switch d.name {
		case "component":
			v.Component = d.str(firstOwnField)
		case "healthy":
			v.Healthy = d.bool(firstOwnField + 1)
		case "cpu":
			v.CPU = d.float(firstOwnField + 2)
		case "memory":
			v.Memory = d.float(firstOwnField + 3)
		case "queue_depth":
			v.QueueDepth = d.optionalInt(firstOwnField + 4)
		default:
			d.event(&v.Event)
		}
	}
	err := d.finish()
	if err == nil && c.strict {
		err = v.Validate()
	}
	if err != nil {
		return Health{}, err
	}
	return v, nil
}
