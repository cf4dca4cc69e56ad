//go:build integration && soak

package hot_test

import (
	"testing"
	"time"
)

func TestSoakRedisGoesAndComesBack(t *testing.T) { redisGoes(t, time.Minute) }
