{{/* Labels of every object. */}}
{{- define "ocm-controller.labels" -}}
app.kubernetes.io/name: ocm-controller
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
