package codec

import "encoding/binary"

// Partition returns the partition, of n, that Kafka's Java clients, and so
// Kafka Streams, choose for a key: murmur2 without its sign, modulo n. For a
// windowed result it takes the inner key's bytes. n less than 1 counts as 1.
//
// A record with a null key has no such partition; to this function null and
// empty keys are the same.
func Partition(key []byte, n int32) int32 {
	return (Murmur2(key) & 0x7fffffff) % max(n, 1)
}

// Murmur2 is the hash of Kafka's Java clients: MurmurHash2 by Austin Appleby, 32
// bits, little-endian, with the seed 0x9747b28c
// (org.apache.kafka.common.utils.Utils.murmur2).
func Murmur2(b []byte) int32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return int32(h ^ h>>15)
}
