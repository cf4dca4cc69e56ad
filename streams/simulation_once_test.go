package streams

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusalsOfTransactions are answers that exactly once has to live with. After
// those in the last lines the worker has to begin anew.
var refusalsOfTransactions = []refusal{
	{kmsg.InitProducerID, kerr.ConcurrentTransactions}, {kmsg.InitProducerID, kerr.NotCoordinator},
	{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions}, {kmsg.AddPartitionsToTxn, kerr.UnknownTopicOrPartition},
	{kmsg.AddPartitionsToTxn, kerr.CoordinatorLoadInProgress}, {kmsg.AddOffsetsToTxn, kerr.ConcurrentTransactions},
	{kmsg.AddOffsetsToTxn, kerr.CoordinatorNotAvailable}, {kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.TxnOffsetCommit, kerr.IllegalGeneration}, {kmsg.TxnOffsetCommit, kerr.RebalanceInProgress},
	{kmsg.EndTxn, kerr.ConcurrentTransactions}, {kmsg.EndTxn, kerr.NotCoordinator}, {kmsg.EndTxn, kerr.RequestTimedOut},
	{kmsg.OffsetFetch, kerr.UnstableOffsetCommit},
	{kmsg.TxnOffsetCommit, kerr.UnknownMemberID}, {kmsg.AddPartitionsToTxn, kerr.ProducerFenced}, {kmsg.EndTxn, kerr.InvalidProducerEpoch},
	{kmsg.AddOffsetsToTxn, kerr.InvalidTxnState}, {kmsg.EndTxn, kerr.TransactionAbortable},
}

// drawOnce makes the plan of a seed exactly once: that of draw, with what brokers
// answer to transactions, and crashes at the steps that they have.
func drawOnce(seed uint64) *plan {
	p, r := draw(seed), rand.New(rand.NewPCG(seed, 2))
	p.guarantee = ExactlyOnce
	for i := range p.faults {
		f := &p.faults[i]
		switch f.kind {
		case refuse:
			if f.refusal = pick(r, refusalsOfTransactions...); f.refusal.key == kmsg.InitProducerID {
				f.count = 1
			}
		case crashAt:
			f.step = pick(r, exactlyOnceSteps...)
		}
	}
	return p
}

// TestTheSimulationCatchesBrokenFencing has members commit what the group refuses,
// with instances that hang until their tasks are lost. Seeds that cannot tell the
// difference test nothing.
func TestTheSimulationCatchesBrokenFencing(t *testing.T) {
	for seed := range uint64(many) {
		p := drawOnce(seed + 1)
		p.unfenced = true
		for i := range p.faults {
			p.faults[i].kind, p.faults[i].lasts = stuck, 3*session
		}
		v := simulate(t, p, false)
		if len(v.problems) == 0 {
			continue
		}
		what, _, _ := strings.Cut(v.problems[0], "\n")
		fmt.Printf("seed %d catches a commit that nobody fences: %.300s\n", seed+1, what)
		return
	}
	t.Errorf("none of %d seeds noticed that members commit what the group refuses", many)
}
