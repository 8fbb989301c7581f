package policy

// A Worker specifies what a worker of a plan may do.
type Worker struct {
	// Datasets are the datasets of which it may upload shards. An empty list means all.
	Datasets []string
	// SigningKey is the ARN of an asymmetric KMS key that it signs its shards with, or
	// empty if its key is kept elsewhere.
	SigningKey string
}

// Worker returns the policy of a role that runs work. It can neither list nor delete, and
// makes no version: plan and commit are for an uploader with Resume.
func (v Vault) Worker(w Worker) Document {
	statements := []Statement{
		// Each object is looked at after it was stored.
		allow("VaultpackRead", []string{"s3:GetObject"}, v.objects(inDatasets(w.Datasets, "keys/", "versions/", "index/", "packs/", "plans/")...)),
		allow("VaultpackWrite", []string{"s3:PutObject", "s3:AbortMultipartUpload"}, v.objects(inDatasets(w.Datasets, "index/", "packs/", "plans/")...)),
		v.describe(),
	}
	if w.SigningKey != "" {
		statements = append(statements, allow("VaultpackSign", []string{"kms:GetPublicKey", "kms:Sign"}, []string{w.SigningKey}))
	}
	return document(append(statements, v.trainerKey("", Trainer{Datasets: w.Datasets})...)...)
}
