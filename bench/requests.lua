-- Sends the requests of a file one after the other, starting at a given line, and reports as JSON.
-- Each line of the file: method, path, headers (`Name: value`, separated by `|`), body; separated by tabs.
local requests, position = {}, 0

function init(arguments)
    for line in io.lines(arguments[1]) do
        local method, path, rest, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
        local headers = {}
        for name, value in rest:gmatch("([^|:]+): ([^|]*)") do headers[name] = value end
        requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
    end
    position = tonumber(arguments[2]) % #requests
end

function request()
    position = position % #requests + 1
    return requests[position]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %.6f, "bytes": %d, "p50": %.3f, "p95": %.3f, "p99": %.3f, "bad": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, summary.bytes,
        latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000,
        e.status, e.connect + e.read + e.write + e.timeout))
end
