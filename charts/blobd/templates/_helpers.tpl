{{- define "blobd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains "blobd" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-blobd" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "blobd.selector" -}}
app.kubernetes.io/name: blobd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "blobd.labels" -}}
{{ include "blobd.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The Secret with the accounts, empty if there is none. */ -}}
{{- define "blobd.accounts" -}}
{{- if .Values.accountsSecret -}}
{{- .Values.accountsSecret -}}
{{- else if .Values.accounts -}}
{{- include "blobd.fullname" . }}-accounts
{{- end -}}
{{- end -}}
