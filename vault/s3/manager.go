package s3store

//lint:file-ignore SA1019 the SDK's upload manager is deprecated for transfermanager, which is v0 and fails against servers that are strict about CRC64NVME

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A partSender hides the SDK's upload manager: it cuts a stream into parts, keeps them
// until they are sent, and makes the requests of an upload through the given client.
type partSender struct{ m *manager.Uploader }

func newPartSender(client *s3.Client, partSize int64, concurrency int, calculation aws.RequestChecksumCalculation) *partSender {
	return &partSender{manager.NewUploader(client, func(u *manager.Uploader) {
		u.PartSize, u.Concurrency = partSize, concurrency
		u.LeavePartsOnError = true // Store.upload aborts, since it knows more
		u.RequestChecksumCalculation = calculation
	})}
}

func (p *partSender) send(ctx context.Context, in *s3.PutObjectInput, api manager.UploadAPIClient) error {
	_, err := p.m.Upload(ctx, in, func(u *manager.Uploader) { u.S3 = api })
	return err
}
