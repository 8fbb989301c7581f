// Package sagemakertest is a fake of Amazon SageMaker's training and processing jobs and of
// CloudWatch Logs, for tests. It speaks the wire protocol of both (AWS JSON 1.1),
// refuses what CreateTrainingJob is documented to refuse, and really runs the jobs:
// it fetches the channels from an S3 server with the role's credentials, lays out /opt/ml in separate
// namespaces for every host, runs the entrypoint there, and stores the model in S3.
//
//	srv, err := sagemakertest.Start(sagemakertest.Config{
//		S3:    minio.URL,
//		Roles: map[string]aws.Credentials{role: {AccessKeyID: …, SecretAccessKey: …}},
//		Images: map[string]sagemakertest.Image{image: {Entrypoint: []string{"python3", "/src/train.py"}}},
//	})
//	defer srv.Close()
//	// AWS_ENDPOINT_URL_SAGEMAKER=srv.URL AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=srv.URL
//
// An image is the file system of the machine that runs the test: nothing is pulled,
// and an image URI stands for a command ([Config].Images). Running jobs needs Linux, a shell, mount(8),
// and the right to make namespaces, as root or with unprivileged user namespaces; [Available] reports
// whether it is possible. Everything else works anywhere.
//
// One Server serves every Region: the Region of a request is the one that it was
// signed for. Signatures are not checked. Use it only for tests, and never run a job that you would not
// run yourself: a container here has its own mounts, processes and, with network isolation, network, but
// no other isolation.
//
// README.md lists case by case what is implemented, what the AWS documentation says about it, and what
// was chosen where that is silent. In short, what it does not do:
//
//   - File and FastFile mode of S3 prefixes and manifests only; no Pipe mode, file
//     systems, augmented manifests, algorithm resources, serverless jobs. A request
//     with any of these is refused rather than half understood.
//   - No capacity, quotas, warm pools, retries, metrics, debugger or profiler.
//     [Server.Fail] and [Server.Outcome] make the errors that these lead to.
//   - Nothing takes the minutes it takes at AWS. [Config].Pause slows it down.
//   - There is no IAM: a role is the credentials that the S3 server knows.
package sagemakertest
