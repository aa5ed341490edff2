"""Verify an unfiltered export of the audit log without OmniRelay: python3 verify_audit.py FILE [ANCHOR]"""
import datetime, hashlib, json, struct, sys
WHO, DAWN = ("kind", "actor", "reason", "changeTicket"), datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
last, change, rows, head, seen = {"change": (0, bytes(32)), "refusal": (0, bytes(32))}, None, [], 0, hashlib.sha256()
shards = {}  # of each shard: image, revision and times as its newest row left them, nothing if deleted; version, epoch
def raw(v): return struct.pack(">q", v) if isinstance(v, int) else v.encode() if isinstance(v, str) else v
def enc(*fields): return b"".join(b"\xff" * 4 if f is None else struct.pack(">I", len(raw(f))) + raw(f) for f in fields)
def sha(data): return hashlib.sha256(data).digest()
def time(text): return text and (datetime.datetime.fromisoformat(text) - DAWN) // datetime.timedelta(microseconds=1)
def need(right, what): right or sys.exit(f"BROKEN: {what}")
def row(d):  # a row of history: the shard before and after, as it is stored
    before = d["previous"], d["previousRevision"], time(d["previousUpdatedAt"]), d["previous"] and time(d["createdAt"])
    data = enc("omnirelay.row.v1", d["kind"], *before, d["current"])
    return sha(enc("omnirelay.row.v2", data, d["moveReason"]) if d["moveReason"] else data)
def step(d, at):  # what a row says was there before is what the row before it of its shard left, and counters go on
    was, now = (json.loads(d[image] or "null") for image in ("previous", "current"))
    shard, moved = now or was, not was or bool(now) and was["ownerNodeId"] != now["ownerNodeId"]
    left, version, epoch = shards.get((shard["namespace"], shard["shardId"]), ((), 0, 0))
    said = d["previous"], d["previousRevision"], d["previousUpdatedAt"], d["createdAt"]
    counters = shard["version"] + (not now), shard["ownerEpoch"]
    right = said == (left or (None, None, None, at)) and counters == (version + 1, epoch + moved)
    need(right or d["revision"] <= floor, f"row {d['revision']} does not go on from the row before it of its shard")
    shards[shard["namespace"], shard["shardId"]] = now and (d["current"], d["revision"], at, d["createdAt"]), *counters
def follow(d, *place):  # the chain: each hash covers the one before, the place, and the content
    (number, link), name = last[d["type"]], f"{d['type']} {d['id']}"
    last[d["type"]] = d["id"], sha(enc(link, number + 1, *place, bytes.fromhex(d["contentDigest"])))
    need(d["id"] == number + 1 and last[d["type"]][1].hex() == d["hash"], f"{name} does not follow from the one before")
def complete(c):  # what a change says and does, once all its rows have been read; compacted ones are not there
    data = enc("omnirelay.change.v1", *(c[name] for name in (*WHO, "metadata", "configuration")))
    data = (enc("omnirelay.change.v2", data, c["forced"]) if c["forced"] else data) + b"".join(map(row, rows))
    need(len(rows) == c["shardCount"] or head - c["shardCount"] < floor, f"rows of change {c['id']} are not there")
    need(len(rows) != c["shardCount"] or sha(data).hex() == c["contentDigest"], f"change {c['id']} or its rows: edited")
    for d in rows: step(d, c["committedAt"])
for line, d in ((line, json.loads(line)) for line in open(sys.argv[1], "rb")):
    if d["type"] == "header": floor = d["floor"] if d["start"][:2] == "0:" else sys.exit("it begins in the middle")
    elif d["type"] == "row":
        need(d["revision"] <= floor or d["revision"] == head - change["shardCount"] + len(rows) + 1, "a row is missing")
        rows.append(d)
    elif change: complete(change)
    if d["type"] == "change":
        change, rows, head = d, [], head + d["shardCount"]
        follow(d, head, d["shardCount"], time(d["committedAt"]))
    elif d["type"] == "refusal":
        told = *(d[name] for name in (*WHO, "outcome")), bytes.fromhex(d["requestDigest"]), d["request"], d["details"]
        data = enc("omnirelay.refusal.v1", *told, d["leftOut"], *d["namespaces"])
        need(sha(data).hex() == d["contentDigest"], f"refusal {d['id']}: edited")
        change = follow(d, time(d["refusedAt"]))
    if d["type"] != "manifest": seen.update(line)
need(d["type"] == "manifest" and d["contentSha256"] == seen.hexdigest(), "the file is not as it was exported")
need(sys.argv[2:] in ([], [d["end"]]), "it does not end where the anchor says")
print(f"OK: {last['change'][0]} changes, {head} revisions, {last['refusal'][0]} refusals. Anchor: {d['end']}")
