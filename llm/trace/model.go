package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/millrace/millrace/llm"
)

// profile is the model of one LLM. The figures are plausible, not measured.
type profile struct {
	name        string
	share       float64 // of its service's requests
	baseMS      float64 // of any request
	readMS      float64 // per prompt token
	writeMS     float64 // per completion token
	promptUSD   float64 // per million prompt tokens
	completeUSD float64 // per million completion tokens
	errors      float64 // probability
	quality     float64 // mean
}

// profiles holds the LLMs of each service. It never changes.
var profiles = [...][]profile{
	CodeService: {
		{"code-small", 0.7, 40, 0.06, 9, 0.15, 0.60, 0.002, 0.74},
		{"code-large", 0.3, 90, 0.25, 24, 2.50, 10.00, 0.006, 0.88},
	},
	ConversationService: {
		{"chat-small", 0.5, 40, 0.05, 8, 0.10, 0.40, 0.002, 0.68},
		{"chat-medium", 0.3, 70, 0.12, 17, 0.80, 3.20, 0.004, 0.79},
		{"chat-large", 0.2, 110, 0.30, 28, 3.00, 15.00, 0.010, 0.90},
	},
}

// The rest of the model; README.md describes it.
const (
	latencySigma   = 0.25
	queueShare     = 0.01
	queueMeanMS    = 2000
	unpricedShare  = 0.02
	judgedShare    = 0.2
	qualitySigma   = 0.1
	newSession     = 0.25
	activeSessions = 64
)

// sessionShare is how many of a service's requests belong to a session.
var sessionShare = [...]float64{CodeService: 0.5, ConversationService: 0.9}

// modeller makes an event of a row.
type modeller struct {
	random   *rand.Rand
	sessions [len(profiles)][]string // the active ones, a ring
	started  [len(profiles)]int
}

func newModeller(seed uint64) *modeller {
	return &modeller{random: rand.New(rand.NewPCG(seed, 0x6d6f64656c))}
}

// event returns the event of row, which happened at the given time.
func (m *modeller) event(row Row, at int64) llm.Performance {
	p := m.profile(row.Service)
	v := llm.Performance{
		Event:            llm.Event{Timestamp: at, RequestID: randomID(m.random), Model: p.name},
		PromptTokens:     row.ContextTokens,
		CompletionTokens: row.GeneratedTokens,
		Error:            m.random.Float64() < p.errors,
	}
	if m.random.Float64() < sessionShare[row.Service] {
		v.SessionID = llm.Some(m.session(row.Service))
	}
	latency := (p.baseMS + p.readMS*float64(row.ContextTokens) + p.writeMS*float64(row.GeneratedTokens)) *
		math.Exp(latencySigma*m.random.NormFloat64())
	if m.random.Float64() < queueShare {
		latency += queueMeanMS * m.random.ExpFloat64()
	}
	v.LatencyMS = math.Round(latency*1000) / 1000
	if !v.Error {
		if m.random.Float64() >= unpricedShare {
			v.CostUSD = llm.Some((p.promptUSD*float64(row.ContextTokens) + p.completeUSD*float64(row.GeneratedTokens)) / 1e6)
		}
		if m.random.Float64() < judgedShare {
			quality := p.quality + qualitySigma*m.random.NormFloat64()
			v.Quality = llm.Some(math.Round(min(max(quality, 0), 1)*1000) / 1000)
		}
	}
	return v
}

func (m *modeller) profile(s Service) *profile {
	of := profiles[s]
	at := m.random.Float64()
	for i := range of[:len(of)-1] {
		if at -= of[i].share; at < 0 {
			return &of[i]
		}
	}
	return &of[len(of)-1]
}

// randomID returns a random UUID (version 4).
func randomID(random *rand.Rand) llm.RequestID {
	var id llm.RequestID
	binary.BigEndian.PutUint64(id[:8], random.Uint64())
	binary.BigEndian.PutUint64(id[8:], random.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (m *modeller) session(s Service) string {
	active := m.sessions[s]
	if len(active) > 0 && m.random.Float64() >= newSession {
		return active[m.random.IntN(len(active))]
	}
	id := fmt.Sprintf("session-%d-%06d", s, m.started[s])
	if len(active) < activeSessions {
		m.sessions[s] = append(active, id)
	} else {
		active[m.started[s]%activeSessions] = id
	}
	m.started[s]++
	return id
}
