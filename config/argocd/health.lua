-- The health of a MailDomain, DKIMKey, DNSProvider or ClusterDNSProvider for Argo CD, from the conditions that kstatus,
-- and so kubectl wait and Flux, read too.
local conditions = {}
for _, condition in ipairs((obj.status or {}).conditions or {}) do
  if condition.status == "True" or condition.type == "Ready" then
    conditions[condition.type] = condition
  end
end

local function health(status, condition, otherwise)
  local message = otherwise
  if condition ~= nil then
    message = condition.reason .. ": " .. (condition.message or "")
  end
  return {status = status, message = message}
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", conditions.Stalled or conditions.Reconciling, "is being deleted")
end
if (obj.status or {}).observedGeneration ~= obj.metadata.generation then
  return health("Progressing", nil, "the operator has not seen this spec yet")
end
if conditions.Stalled then
  return health("Degraded", conditions.Stalled)
end
if conditions.Suspended then
  return health("Suspended", conditions.Suspended)
end
if conditions.Reconciling then
  return health("Progressing", conditions.Reconciling)
end
if conditions.Ready and conditions.Ready.status == "True" then
  return health("Healthy", conditions.Ready)
end
return health("Progressing", conditions.Ready, "the operator has not looked yet")
