package sagemakertest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

// A test of code that launches and watches jobs, which needs no containers: the
// job ends as the test says.
func Example() {
	ctx := context.Background()
	srv, err := sagemakertest.Start(sagemakertest.Config{
		S3:    "http://127.0.0.1:9000", // not asked, since the job has no channels
		Roles: map[string]aws.Credentials{"arn:aws:iam::111122223333:role/training": {AccessKeyID: "id", SecretAccessKey: "secret"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.Outcome("digits", sagemakertest.Outcome{Status: types.TrainingJobStatusFailed, Reason: "CapacityError: Unable to provision requested ML compute capacity."})
	srv.Fail("DescribeTrainingJob", 1, sagemakertest.Fault{Code: "ThrottlingException"}) // the SDK tries again

	// Here would be the code under test, with AWS_ENDPOINT_URL_SAGEMAKER=srv.URL.
	client := sagemaker.New(sagemaker.Options{Region: "eu-west-1", BaseEndpoint: &srv.URL,
		Credentials: credentials.NewStaticCredentialsProvider("someone", "not a secret", "")})
	_, err = client.CreateTrainingJob(ctx, &sagemaker.CreateTrainingJobInput{
		TrainingJobName: aws.String("digits"),
		RoleArn:         aws.String("arn:aws:iam::111122223333:role/training"),
		AlgorithmSpecification: &types.AlgorithmSpecification{TrainingImage: aws.String("image"), TrainingInputMode: types.TrainingInputModeFile,
			ContainerEntrypoint: []string{"python3", "/src/train.py"}},
		OutputDataConfig: &types.OutputDataConfig{S3OutputPath: aws.String("s3://bucket/models")},
		ResourceConfig:   &types.ResourceConfig{InstanceType: types.TrainingInstanceTypeMlM5Large, InstanceCount: aws.Int32(1), VolumeSizeInGB: aws.Int32(30)},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, _, err := srv.Wait(ctx, "digits"); err != nil {
		log.Fatal(err)
	}
	job, err := client.DescribeTrainingJob(ctx, &sagemaker.DescribeTrainingJobInput{TrainingJobName: aws.String("digits")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.TrainingJobStatus, *job.FailureReason, srv.Unmet())
	for _, call := range srv.Calls("DescribeTrainingJob") {
		fmt.Printf("%s %q\n", call.Operation, call.Error)
	}
	// Output:
	// Failed CapacityError: Unable to provision requested ML compute capacity. 0
	// DescribeTrainingJob "ThrottlingException"
	// DescribeTrainingJob ""
}
