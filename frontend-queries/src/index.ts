/** Operations of the shard ownership store, typed, and what front ends need around them. */
export type { MeshDocument, TrustedDocument } from "./documents.js";
export { MeshError, POSITION_LOST, fromGraphQLErrors, fromUnknown } from "./errors.js";
export type { MeshGraphQLError } from "./errors.js";
export { followShards } from "./follow.js";
export type { FollowEvent, FollowOptions, FollowedDiff, Follower, ListedShard, ShardList, ShardStream } from "./follow.js";
export { embeddedTypes, keyFields, possibleTypes } from "./generated/cache.js";
export { describeError, describeRefusal } from "./refusals.js";
export type { Description, RefusalLike } from "./refusals.js";
export { compareRevisions, toRevision } from "./scalars.js";
export type { Cursor, Revision } from "./scalars.js";
export { overEventStream, overWebSocket } from "./transports.js";
export type { GraphqlWsClient, MeshTransport, RequestOptions, SubscriptionSink } from "./transports.js";
