package s3store

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

// A checksum, the one named by Settings.Checksum, is sent with every upload for the
// server to check. It is optional, because what is uploaded also authenticates
// itself.
type checksum string

const (
	sumCRC64NVME checksum = "crc64nvme"
	sumCRC32     checksum = "crc32"
	sumSHA256    checksum = "sha256"
	sumNone      checksum = "none"
)

func newChecksum(setting string) (checksum, error) {
	switch c := checksum(setting); c {
	case "":
		return sumCRC64NVME, nil
	case sumCRC64NVME, sumCRC32, sumSHA256, sumNone:
		return c, nil
	}
	return "", fmt.Errorf("checksum is %q, but must be crc64nvme, crc32, sha256 or none", setting)
}

// calculation keeps the SDK from adding a checksum if none is wanted.
func (c checksum) calculation() aws.RequestChecksumCalculation {
	if c == sumNone {
		return aws.RequestChecksumCalculationWhenRequired
	}
	return aws.RequestChecksumCalculationWhenSupported
}

// algorithm returns the checksum's name in S3, or "" for none.
func (c checksum) algorithm() types.ChecksumAlgorithm {
	switch c {
	case sumCRC64NVME:
		return types.ChecksumAlgorithmCrc64nvme
	case sumCRC32:
		return types.ChecksumAlgorithmCrc32
	case sumSHA256:
		return types.ChecksumAlgorithmSha256
	}
	return ""
}

// kind returns what the checksum of a multipart object covers: all of its bytes or, for
// SHA-256, for which S3 supports nothing else, the checksums of its parts.
func (c checksum) kind() types.ChecksumType {
	switch c {
	case sumCRC64NVME, sumCRC32:
		return types.ChecksumTypeFullObject
	case sumSHA256:
		return types.ChecksumTypeComposite
	}
	return ""
}

// A partSum is the checksum and the size of a part of an object.
type partSum struct {
	crc  uint64
	text *string // as in S3's headers, nil for none
	size int64
}

// of reads the whole body and rewinds it.
func (c checksum) of(body io.Reader) (partSum, error) {
	r, ok := body.(io.ReadSeeker)
	if !ok {
		return partSum{}, fmt.Errorf("a part of %T cannot be rewound", body)
	}
	var h hash.Hash
	switch c {
	case sumCRC64NVME:
		h = crc64nvme.New()
	case sumCRC32:
		h = crc32.NewIEEE()
	case sumSHA256:
		h = sha256.New()
	}
	var s partSum
	var err error
	if h == nil {
		s.size, err = r.Seek(0, io.SeekEnd)
	} else if s.size, err = io.Copy(h, r); err == nil {
		sum := h.Sum(nil)
		text := base64.StdEncoding.EncodeToString(sum)
		s.text = &text
		if c != sumSHA256 {
			for _, b := range sum {
				s.crc = s.crc<<8 | uint64(b)
			}
		}
	}
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	return s, err
}

func (c checksum) setPut(in *s3.PutObjectInput, s partSum) {
	switch c {
	case sumCRC64NVME:
		in.ChecksumCRC64NVME = s.text
	case sumCRC32:
		in.ChecksumCRC32 = s.text
	case sumSHA256:
		in.ChecksumSHA256 = s.text
	}
}

func (c checksum) setPart(in *s3.UploadPartInput, s partSum) {
	switch c {
	case sumCRC64NVME:
		in.ChecksumCRC64NVME = s.text
	case sumCRC32:
		in.ChecksumCRC32 = s.text
	case sumSHA256:
		in.ChecksumSHA256 = s.text
	}
}

// setComplete sets the checksum in the request that makes an object from its parts,
// and returns the object's checksum as S3 reports it, or "" if there is none.
func (c checksum) setComplete(in *s3.CompleteMultipartUploadInput, parts *partSums) (sum string, size int64) {
	sum, size = parts.whole(c)
	in.ChecksumType, in.MpuObjectSize = c.kind(), &size
	switch c {
	case sumCRC64NVME:
		in.ChecksumCRC64NVME = &sum
	case sumCRC32:
		in.ChecksumCRC32 = &sum
	case sumSHA256:
		for i := range in.MultipartUpload.Parts {
			p := &in.MultipartUpload.Parts[i]
			p.ChecksumSHA256 = parts.text(deref(p.PartNumber))
		}
	}
	return sum, size
}

// in returns the object's checksum in a response of the server, or "".
func (c checksum) in(head *s3.HeadObjectOutput) string {
	switch c {
	case sumCRC64NVME:
		return deref(head.ChecksumCRC64NVME)
	case sumCRC32:
		return deref(head.ChecksumCRC32)
	case sumSHA256:
		return deref(head.ChecksumSHA256)
	}
	return ""
}

// partSums collects the checksums of all parts. It is safe for concurrent use.
type partSums struct {
	mu  sync.Mutex
	all map[int32]partSum
}

func (p *partSums) add(number int32, s partSum) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[int32]partSum{}
	}
	p.all[number] = s
}

func (p *partSums) text(number int32) *string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[number].text
}

// whole returns the checksum and the size of the object.
func (p *partSums) whole(c checksum) (sum string, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	poly := nvme
	if c == sumCRC32 {
		poly = ieee
	}
	var crc uint64
	h := sha256.New()
	for _, number := range slices.Sorted(maps.Keys(p.all)) {
		part := p.all[number]
		crc = poly.combine(crc, part.crc, part.size)
		size += part.size
		raw, _ := base64.StdEncoding.DecodeString(deref(part.text)) // written by of
		h.Write(raw)
	}
	switch c {
	case sumSHA256:
		return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(p.all)), size
	case sumNone:
		return "", size
	}
	return poly.encode(crc), size
}
