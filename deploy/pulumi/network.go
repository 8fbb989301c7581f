package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// A vpcEndpoint is aws:ec2/vpcEndpoint:VpcEndpoint. It is registered by its token,
// since the package that has it is several times as large as everything else here,
// and takes minutes to compile.
type vpcEndpoint struct{ pulumi.CustomResourceState }

// provider is the version of the SDK in go.mod. The SDK's own resources request it
// too, so all use the same provider.
const provider = "7.0.0"

// makeEndpoints makes the endpoints through which jobs in the VPC reach AWS.
func (i *infrastructure) makeEndpoints() error {
	if i.vpc == nil || i.vpc.ID == "" {
		return nil
	}
	for _, service := range i.vpc.Endpoints {
		args := pulumi.Map{
			"vpcId":       pulumi.String(i.vpc.ID),
			"serviceName": pulumi.String("com.amazonaws." + i.region + "." + service),
			"tags":        i.tags(),
		}
		if service == "s3" {
			args["vpcEndpointType"] = pulumi.String("Gateway") // costs nothing
			args["routeTableIds"] = pulumi.ToStringArray(i.vpc.RouteTables)
		} else {
			args["vpcEndpointType"] = pulumi.String("Interface")
			args["subnetIds"] = pulumi.ToStringArray(i.vpc.Subnets)
			args["securityGroupIds"] = pulumi.ToStringArray(i.vpc.SecurityGroups)
			args["privateDnsEnabled"] = pulumi.Bool(true)
		}
		var e vpcEndpoint
		if err := i.ctx.RegisterResource("aws:ec2/vpcEndpoint:VpcEndpoint", "endpoint-"+service, args, &e, pulumi.Version(provider)); err != nil {
			return err
		}
	}
	return nil
}
