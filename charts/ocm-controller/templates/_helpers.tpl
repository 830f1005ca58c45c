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

{{/*
The name of what belongs to no namespace, and of what lies in those that are watched: that of the
operator in the namespace `ocm-system`, and another one for each further operator.
*/}}
{{- define "ocm-controller.clusterName" -}}
ocm-controller{{ if ne .Release.Namespace "ocm-system" }}-{{ .Release.Namespace }}{{ end }}
{{- end }}

{{/* What the operator appends to names that operators with other labels have as well. */}}
{{- define "ocm-controller.shard" -}}
{{- with .Values.watchLabelSelector }}-{{ sha256sum . | trunc 8 }}{{ end }}
{{- end }}

{{/* What the operator may do where it works; config/rbac/role.yaml says why. */}}
{{- define "ocm-controller.rights" -}}
{{- $shard := include "ocm-controller.shard" . }}
{{- $rights := .Files.Get "files/rights.yaml" }}
{{- $rights = replace "ocm-registry-ca," (printf "ocm-registry-ca%s," $shard) $rights }}
{{- replace "ocm-registry-pull]" (printf "ocm-registry-pull%s]" $shard) $rights }}
{{- end }}

{{/* The operator's account, as a subject of a binding. */}}
{{- define "ocm-controller.subject" -}}
kind: ServiceAccount
name: ocm-controller
namespace: {{ .Release.Namespace }}
{{- end }}

{{/* A RoleBinding to the Role of the same name: takes [name, namespace, root]. */}}
{{- define "ocm-controller.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ index . 0 }}
  namespace: {{ index . 1 }}
  labels:
    {{- include "ocm-controller.labels" (index . 2) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ index . 0 }}
subjects:
- {{- include "ocm-controller.subject" (index . 2) | nindent 2 }}
{{- end }}
