{{/* The name of everything in the release's namespace. */}}
{{- define "maildomain-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* The name of what belongs to the cluster: two releases in two namespaces must not share it. */}}
{{- define "maildomain-operator.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "maildomain-operator.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "maildomain-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "maildomain-operator.labels" -}}
{{ include "maildomain-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "maildomain-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "maildomain-operator.name" .) }}
{{- else }}{{ required "serviceAccount.name is needed when serviceAccount.create is false: name the account that exists." .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "maildomain-operator.ownerID" -}}
{{- required "ownerID is needed: it names this installation in the DNS, so that it never touches records of another one. Pick a name no other cluster has and keep it: --set ownerID=prod-eu.example.org" .Values.ownerID }}
{{- end }}

{{/* The roles that controller-gen wrote: [ClusterRole, Role of the operator's own namespace]. */}}
{{- define "maildomain-operator.rules" -}}
{{- range (.Files.Get "files/role.yaml" | splitList "\n---\n") }}
{{- $role := . | trimPrefix "---\n" | fromYaml }}
{{- if eq $role.kind $.kind }}{{ toYaml $role.rules }}{{ end }}
{{- end }}
{{- end }}

{{/* The rules for a namespace that is watched alone: without what exists only for the whole cluster. */}}
{{- define "maildomain-operator.rulesOfNamespace" -}}
{{- range $rule := (include "maildomain-operator.rules" (dict "Files" .Files "kind" "ClusterRole") | fromYamlArray) }}
{{- with without $rule.resources "namespaces" "clusterdnsproviders" "clusterdnsproviders/status" }}
{{- list (set (deepCopy $rule) "resources" .) | toYaml }}
{{ end }}
{{- end }}
{{- end }}
