-- Sends the requests of a file in turn, and prints a summary as one line of JSON at the end.
-- "~~~~~~~~~~" in a request is replaced by a number of the same length that no other request has.
local requests, numbered, index, number = {}, false, 0, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for request in (file:read("*a") .. "\0"):gmatch("(.-)%z") do
    requests[#requests + 1] = request
  end
  file:close()
  number = tonumber(arguments[2])
  numbered = requests[1]:find("~~~~~~~~~~", 1, true) ~= nil
end

function request()
  index = index % #requests + 1
  if not numbered then
    return requests[index]
  end
  number = number + 1
  return (requests[index]:gsub("~~~~~~~~~~", string.format("%010d", number)))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "errors": %d, "p50": %.0f, "p99": %.0f}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
