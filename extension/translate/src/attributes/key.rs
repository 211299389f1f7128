//! The attribute names that translation knows, and the old and new names of one thing (xray.md section 14.3).
//!
//! Names are looked up once for each attribute; from then on a known name is a small number.

use std::sync::LazyLock;

macro_rules! keys {
    ($($key:ident = $name:literal,)*) => {
        /// A known attribute name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(clippy::enum_variant_names, reason = "attribute names: some end in key")]
        pub(crate) enum Key { $($key,)* }

        const KEYS: &[(Key, &str)] = &[$((Key::$key, $name),)*];
    };
}

keys! {
    AwsAccountId = "aws.account_id",
    AwsDynamodbTableNames = "aws.dynamodb.table_names",
    AwsErrorCode = "aws.error.code",
    AwsExtendedRequestId = "aws.extended_request_id",
    AwsKinesisStreamArn = "aws.kinesis.stream.arn",
    AwsKinesisStreamName = "aws.kinesis.stream_name",
    AwsLambdaFunctionArn = "aws.lambda.function.arn",
    AwsLambdaFunctionName = "aws.lambda.function.name",
    AwsLambdaInvokedArn = "aws.lambda.invoked_arn",
    AwsLambdaResourceMappingId = "aws.lambda.resource_mapping.id",
    AwsLocalService = "aws.local.service",
    AwsLogGroupArns = "aws.log.group.arns",
    AwsLogGroupNames = "aws.log.group.names",
    AwsOperation = "aws.operation",
    AwsQueueUrl = "aws.queue_url",
    AwsQueueUrlDotted = "aws.queue.url",
    AwsRegion = "aws.region",
    AwsRemoteService = "aws.remote.service",
    AwsRequestId = "aws.request_id",
    AwsRequestIdCamel = "aws.requestId",
    AwsRequestExtendedId = "aws.request.extended_id",
    AwsRequestIdDotted = "aws.request.id",
    AwsRetries = "aws.retries",
    AwsS3Bucket = "aws.s3.bucket",
    AwsS3CopySource = "aws.s3.copy_source",
    AwsS3Key = "aws.s3.key",
    AwsSecretArn = "aws.secretsmanager.secret.arn",
    AwsService = "aws.service",
    AwsSnsTopicArn = "aws.sns.topic.arn",
    AwsSqsQueueUrl = "aws.sqs.queue.url",
    AwsSqsQueueUrlOld = "aws.sqs.queue_url",
    AwsStateMachineArn = "aws.stepfunctions.state_machine.arn",
    AwsStateMachineArnUnderscored = "aws.step_functions.state_machine.arn",
    AwsActivityArn = "aws.stepfunctions.activity.arn",
    AwsActivityArnUnderscored = "aws.step_functions.activity.arn",
    AwsStreamConsumerArn = "aws.kinesis.stream_consumer.arn",
    AwsTableName = "aws.table_name",
    AwsTableNameDotted = "aws.table.name",
    AwsXrayAnnotations = "aws.xray.annotations",
    ClientAddress = "client.address",
    CloudAccountId = "cloud.account.id",
    CloudRegion = "cloud.region",
    CloudResourceId = "cloud.resource_id",
    ContainerImageTag = "container.image.tag",
    DbCollectionName = "db.collection.name",
    DbConnectionString = "db.connection_string",
    DbName = "db.name",
    DbNamespace = "db.namespace",
    DbQueryText = "db.query.text",
    DbResponseStatusCode = "db.response.status_code",
    DbStatement = "db.statement",
    DbSystem = "db.system",
    DbSystemName = "db.system.name",
    DbUser = "db.user",
    EnduserId = "enduser.id",
    ErrorType = "error.type",
    ExceptionMessage = "exception.message",
    ExceptionStacktrace = "exception.stacktrace",
    ExceptionType = "exception.type",
    FaasColdstart = "faas.coldstart",
    FaasExecution = "faas.execution",
    FaasId = "faas.id",
    FaasInvocationId = "faas.invocation_id",
    FaasInvokedName = "faas.invoked_name",
    FaasName = "faas.name",
    FaasTrigger = "faas.trigger",
    FaasVersion = "faas.version",
    GenAiOperation = "gen_ai.operation.name",
    GenAiProvider = "gen_ai.provider.name",
    GenAiSystem = "gen_ai.system",
    HttpClientIp = "http.client_ip",
    HttpHost = "http.host",
    HttpMethod = "http.method",
    HttpRequestMethod = "http.request.method",
    HttpResendCount = "http.request.resend_count",
    HttpResponseBodySize = "http.response.body.size",
    HttpResponseContentLength = "http.response_content_length",
    HttpResponseHeaderContentLength = "http.response.header.content-length",
    HttpResponseStatusCode = "http.response.status_code",
    HttpScheme = "http.scheme",
    HttpServerName = "http.server_name",
    HttpStatusCode = "http.status_code",
    HttpTarget = "http.target",
    HttpUrl = "http.url",
    HttpUserAgent = "http.user_agent",
    MessageType = "message.type",
    MessagingBatchCount = "messaging.batch.message_count",
    MessagingBodySize = "messaging.message.body.size",
    MessagingBodySizeOld = "messaging.message_payload_size_bytes",
    MessagingDestination = "messaging.destination",
    MessagingDestinationName = "messaging.destination.name",
    MessagingMessageId = "messaging.message.id",
    MessagingMessageIdOld = "messaging.message_id",
    MessagingOperation = "messaging.operation",
    MessagingOperationName = "messaging.operation.name",
    MessagingSystem = "messaging.system",
    MessagingUrl = "messaging.url",
    NetHostName = "net.host.name",
    NetHostPort = "net.host.port",
    NetPeerIp = "net.peer.ip",
    NetPeerName = "net.peer.name",
    NetPeerPort = "net.peer.port",
    NetSockPeerAddr = "net.sock.peer.addr",
    NetSockPeerName = "net.sock.peer.name",
    NetworkPeerAddress = "network.peer.address",
    NetworkPeerPort = "network.peer.port",
    PeerService = "peer.service",
    ProcessRuntimeName = "process.runtime.name",
    ProcessRuntimeVersion = "process.runtime.version",
    ProcessWorkingDirectory = "process.working_directory",
    RetryAttempts = "retry_attempts",
    RpcGrpcStatusCode = "rpc.grpc.status_code",
    RpcMethod = "rpc.method",
    RpcResponseStatusCode = "rpc.response.status_code",
    RpcService = "rpc.service",
    RpcSystem = "rpc.system",
    RpcSystemName = "rpc.system.name",
    ScopeName = "otel.scope.name",
    ScopeVersion = "otel.scope.version",
    ServerAddress = "server.address",
    ServerPort = "server.port",
    ServiceName = "service.name",
    ServicePeerName = "service.peer.name",
    ServiceVersion = "service.version",
    SqsQueueName = "aws.sqs.queue_name",
    TelemetryAutoVersion = "telemetry.auto.version",
    TelemetryDistroName = "telemetry.distro.name",
    TelemetryDistroVersion = "telemetry.distro.version",
    TelemetrySdkLanguage = "telemetry.sdk.language",
    TelemetrySdkName = "telemetry.sdk.name",
    TelemetrySdkVersion = "telemetry.sdk.version",
    UrlFull = "url.full",
    UrlPath = "url.path",
    UrlQuery = "url.query",
    UrlScheme = "url.scheme",
    UserAgentOriginal = "user_agent.original",
    UserId = "user.id",
    UserName = "user.name",
}

/// How many keys there are.
pub(crate) const COUNT: usize = KEYS.len();

use Key as K;

/// Newest first, as in the table.
pub(crate) const METHOD: &[Key] = &[K::HttpRequestMethod, K::HttpMethod];
pub(crate) const STATUS: &[Key] = &[K::HttpResponseStatusCode, K::HttpStatusCode];
pub(crate) const URL: &[Key] = &[K::UrlFull, K::HttpUrl];
pub(crate) const SCHEME: &[Key] = &[K::UrlScheme, K::HttpScheme];
pub(crate) const SERVER_HOST: &[Key] = &[K::ServerAddress, K::HttpHost, K::HttpServerName, K::NetHostName];
pub(crate) const SERVER_PORT: &[Key] = &[K::ServerPort, K::NetHostPort];
pub(crate) const CLIENT_HOST: &[Key] = &[
    K::ServerAddress,
    K::NetPeerName,
    K::HttpHost,
    K::NetSockPeerName,
    K::NetworkPeerAddress,
    K::NetPeerIp,
    K::NetSockPeerAddr,
];
pub(crate) const CLIENT_PORT: &[Key] = &[K::ServerPort, K::NetPeerPort, K::NetworkPeerPort];
pub(crate) const CLIENT_ADDRESS: &[Key] = &[K::ClientAddress, K::HttpClientIp];
pub(crate) const PEER_ADDRESS: &[Key] = &[K::NetworkPeerAddress, K::NetSockPeerAddr, K::NetPeerIp];
pub(crate) const USER_AGENT: &[Key] = &[K::UserAgentOriginal, K::HttpUserAgent];
pub(crate) const RESPONSE_SIZE: &[Key] =
    &[K::HttpResponseBodySize, K::HttpResponseHeaderContentLength, K::HttpResponseContentLength];
pub(crate) const MESSAGE_SIZE: &[Key] = &[K::MessagingBodySize, K::MessagingBodySizeOld];
pub(crate) const DB_SYSTEM: &[Key] = &[K::DbSystemName, K::DbSystem];
pub(crate) const DB_NAMESPACE: &[Key] = &[K::DbNamespace, K::DbName];
pub(crate) const DB_QUERY: &[Key] = &[K::DbQueryText, K::DbStatement];
pub(crate) const DB_USER: &[Key] = &[K::DbUser, K::UserName];
pub(crate) const RPC_SYSTEM: &[Key] = &[K::RpcSystemName, K::RpcSystem];
pub(crate) const RPC_STATUS: &[Key] = &[K::RpcResponseStatusCode, K::RpcGrpcStatusCode];
pub(crate) const AWS_REQUEST_ID: &[Key] = &[K::AwsRequestId, K::AwsRequestIdCamel, K::AwsRequestIdDotted];
pub(crate) const AWS_EXTENDED_ID: &[Key] = &[K::AwsExtendedRequestId, K::AwsRequestExtendedId];
pub(crate) const AWS_REGION: &[Key] = &[K::CloudRegion, K::AwsRegion];
pub(crate) const AWS_OPERATION: &[Key] = &[K::AwsOperation, K::RpcMethod];
pub(crate) const AWS_RETRIES: &[Key] = &[K::HttpResendCount, K::AwsRetries, K::RetryAttempts];
pub(crate) const QUEUE_URL: &[Key] =
    &[K::AwsSqsQueueUrl, K::AwsSqsQueueUrlOld, K::AwsQueueUrlDotted, K::AwsQueueUrl, K::MessagingUrl];
pub(crate) const TABLE: &[Key] = &[K::AwsDynamodbTableNames, K::AwsTableNameDotted, K::AwsTableName];
pub(crate) const CALLED_FUNCTION: &[Key] = &[K::AwsLambdaFunctionName, K::FaasInvokedName];
pub(crate) const DESTINATION: &[Key] = &[K::MessagingDestinationName, K::MessagingDestination];
pub(crate) const MESSAGE_ID: &[Key] = &[K::MessagingMessageId, K::MessagingMessageIdOld];
pub(crate) const MESSAGING_OPERATION: &[Key] = &[K::MessagingOperationName, K::MessagingOperation];
pub(crate) const PEER: &[Key] = &[K::ServicePeerName, K::PeerService];
pub(crate) const USER: &[Key] = &[K::UserId, K::EnduserId];
pub(crate) const GEN_AI_PROVIDER: &[Key] = &[K::GenAiProvider, K::GenAiSystem];
pub(crate) const FUNCTION_ARN: &[Key] = &[K::CloudResourceId, K::FaasId];
/// Attributes that name AWS resources by ARN and have no field of their own.
pub(crate) const RESOURCE_ARNS: &[Key] = &[
    K::AwsStateMachineArn,
    K::AwsStateMachineArnUnderscored,
    K::AwsActivityArn,
    K::AwsActivityArnUnderscored,
    K::AwsSecretArn,
    K::AwsKinesisStreamArn,
    K::AwsStreamConsumerArn,
    K::AwsLambdaFunctionArn,
];

impl Key {
    /// The key of a name, when it is a known one.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let table = &*TABLE_OF_NAMES;
        let mut slot = hash(name.as_bytes());
        loop {
            let entry = table[slot % SLOTS];
            if entry == EMPTY {
                return None;
            }
            let (key, known) = KEYS[usize::from(entry)];
            if known == name {
                return Some(key);
            }
            slot += 1;
        }
    }

    pub(crate) fn name(self) -> &'static str {
        KEYS[self as usize].1
    }
}

/// Four times the keys, so that a search ends soon.
const SLOTS: usize = 1024;
const EMPTY: u8 = u8::MAX;

static TABLE_OF_NAMES: LazyLock<[u8; SLOTS]> = LazyLock::new(|| {
    let mut table = [EMPTY; SLOTS];
    for (index, (_, name)) in KEYS.iter().enumerate() {
        let mut slot = hash(name.as_bytes());
        while table[slot % SLOTS] != EMPTY {
            slot += 1;
        }
        // There are fewer keys than a byte counts: a test says so.
        table[slot % SLOTS] = u8::try_from(index).unwrap_or(EMPTY);
    }
    table
});

/// A few bytes tell the known names apart; what they do not tell, the comparison does.
fn hash(name: &[u8]) -> usize {
    let length = name.len();
    let at = |index: usize| name.get(index).copied().map_or(0, usize::from);
    length
        .wrapping_mul(37)
        .wrapping_add(at(length / 2).wrapping_mul(113))
        .wrapping_add(at(length.wrapping_sub(2)).wrapping_mul(269))
        .wrapping_add(at(length.wrapping_sub(4)).wrapping_mul(31))
        .wrapping_add(at(length / 3).wrapping_mul(617))
        .wrapping_add(at(1).wrapping_mul(11))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_and_no_other() {
        assert!(COUNT < usize::from(EMPTY));
        for (key, name) in KEYS {
            assert_eq!(Key::of(name), Some(*key));
            assert_eq!(key.name(), *name);
            assert_eq!(Key::of(&format!("{name}x")), None);
        }
        for name in ["", "a", "http", "http.request.header.x"] {
            assert_eq!(Key::of(name), None);
        }
    }

    #[test]
    fn a_search_looks_at_few_slots() {
        let steps = |name: &str| {
            let mut slot = hash(name.as_bytes());
            let begin = slot;
            while TABLE_OF_NAMES[slot % SLOTS] != EMPTY
                && KEYS[usize::from(TABLE_OF_NAMES[slot % SLOTS])].1 != name
            {
                slot += 1;
            }
            slot - begin
        };
        let total: usize = KEYS.iter().map(|(_, name)| steps(name)).sum();
        assert!(total < COUNT / 2, "{total} extra steps for {COUNT} names");
    }
}
