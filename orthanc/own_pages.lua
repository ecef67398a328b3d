-- For an Orthanc that asks for no login, as the demo's: refuses what a browser carries here for a page of another site.
-- Who is refused gets 403. Host, Origin and Sec-Fetch-Site are what gives such a request away (Fetch Metadata, W3C).

local function name_of(host)
  return string.lower(string.match(host or '', '^%[(.-)%]') or string.match(host or '', '^([^:]*)') or '')
end

function IncomingHttpRequestFilter(method, uri, ip, username, headers)
  local name, site, origin = name_of(headers['host']), headers['sec-fetch-site'], headers['origin']
  if name ~= 'localhost' and name ~= '::1' and not string.match(name, '^%d+%.%d+%.%d+%.%d+$') then
    return false
  end
  if method == 'GET' then
    return true
  end
  if site then
    return site == 'same-origin' or site == 'none'
  end
  return not origin or string.match(origin, '://(.*)$') == headers['host']
end
