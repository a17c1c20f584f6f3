{{- define "lxcfs-nri.name" -}}
{{- if contains "lxcfs-nri" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-lxcfs-nri{{ end }}
{{- end }}

{{- define "lxcfs-nri.selector" -}}
app.kubernetes.io/name: lxcfs-nri
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lxcfs-nri.labels" -}}
{{ include "lxcfs-nri.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "lxcfs-nri.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The configuration file, as an object: the values over the mode's defaults. */}}
{{- define "lxcfs-nri.config" -}}
{{- $mode := dict }}
{{- if eq .Values.mode "pod" }}
{{- $mode = dict "mountpoint" "/var/lib/lxcfs-nri/fs" "attachExisting" true }}
{{- end }}
{{- mustMergeOverwrite $mode (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* Each container: root and dot, then the arguments. */}}
{{- define "lxcfs-nri.container" -}}
{{- $ := index . 0 -}}
image: {{ include "lxcfs-nri.image" $ }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
args: {{ index . 1 | toJson }}
securityContext:
  privileged: true
resources: {{- toYaml $.Values.resources | nindent 2 }}
{{- end }}
