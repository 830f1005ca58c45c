{{/* Labels of every object. */}}
{{- define "ocm-controller.labels" -}}
app.kubernetes.io/name: ocm-controller
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/*
What selects the pods. A Deployment cannot change it, so it is that of the Go controller's chart,
whose release is upgraded in place.
*/}}
{{- define "ocm-controller.selector" -}}
app: ocm-controller
{{- end }}

{{/* The reference of the image. */}}
{{- define "ocm-controller.image" -}}
{{- with .Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Metadata of an object in the release's namespace: takes [name, root]. */}}
{{- define "ocm-controller.metadata" -}}
name: {{ index . 0 }}
namespace: {{ (index . 1).Release.Namespace }}
labels:
  {{- include "ocm-controller.labels" (index . 1) | nindent 2 }}
{{- end }}
