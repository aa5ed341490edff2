-- Sends the requests of a file in turn: wrk -s wrk.lua URL -- FILE. In the file, each is preceded by its length and a
-- line feed. In the end a line of JSON is printed: counts, and latencies in microseconds at percentiles.
local requests, sent = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local length = file:read("*n")
  while length do
    file:read(1)
    requests[#requests + 1] = file:read(length)
    length = file:read("*n")
  end
  file:close()
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local points = {}
  local function add(percent)
    points[#points + 1] = string.format("[%g,%d]", percent, latency:percentile(percent))
  end
  for percent = 1, 98 do add(percent) end
  for percent = 99, 99.9, 0.1 do add(percent) end
  add(99.99)
  points[#points + 1] = string.format("[100,%d]", latency.max)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"octets":%d,"failed":%d,"latencies":[%s]}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, table.concat(points, ",")))
end
