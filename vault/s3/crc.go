package s3store

import (
	"encoding/base64"
	"encoding/binary"
)

// A polynomial is the reflected polynomial of a CRC: bit top is the coefficient of x^0.
type polynomial struct {
	bits uint64
	top  uint
}

var (
	// nvme is CRC-64/NVME in the catalogue of parametrised CRC algorithms, which inverts
	// all bits before and after. S3 calls it CRC64NVME. The standard library computes it
	// too, but at a tenth of the speed: it does not use the machine's instructions for
	// polynomials of 64 bits.
	nvme = polynomial{0x9a6c9329ac4bc9b5, 63}
	// ieee is CRC-32/ISO-HDLC. S3 calls it CRC32.
	ieee = polynomial{0xedb88320, 31}
)

// encodeCRC formats a CRC64NVME as in S3's headers.
func encodeCRC(crc uint64) string { return nvme.encode(crc) }

// encode formats a checksum as in S3's headers.
func (p polynomial) encode(crc uint64) string {
	b := binary.BigEndian.AppendUint64(nil, crc)
	return base64.StdEncoding.EncodeToString(b[7-p.top/8:])
}

// combine returns the checksum of two concatenated strings, from their checksums and the
// length of the second. A CRC without its inversions is linear, so the first is extended
// by as many zero bytes by multiplying it with x^(8·length) modulo the polynomial, as
// zlib's crc32_combine does.
func (p polynomial) combine(first, second uint64, length int64) uint64 {
	power, square := uint64(1)<<p.top, uint64(1)<<(p.top-8) // x^0, x^8
	for n := length; n > 0; n >>= 1 {
		if n&1 == 1 {
			power = p.mul(power, square)
		}
		square = p.mul(square, square)
	}
	return p.mul(first, power) ^ second
}

// mul multiplies two polynomials modulo that of the CRC.
func (p polynomial) mul(a, b uint64) uint64 {
	var product uint64
	for i := int(p.top); i >= 0 && a != 0; i-- {
		if a>>i&1 == 1 {
			product ^= b
			a &^= 1 << i
		}
		// b times x
		carry := b & 1
		b >>= 1
		if carry == 1 {
			b ^= p.bits
		}
	}
	return product
}
