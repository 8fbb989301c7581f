package s3store

// CombineCRC is for testing it against checksums of the whole.
func CombineCRC(first, second uint64, length int64) uint64 {
	return nvme.combine(first, second, length)
}
