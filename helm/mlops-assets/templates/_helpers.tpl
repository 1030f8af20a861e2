{{- define "mlops-assets.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mlops-assets.serviceAccount" -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- end }}

{{- define "mlops-assets.claim" -}}
{{ .Values.state.existingClaim | default (printf "%s-state" .Release.Name) }}
{{- end }}

{{- define "mlops-assets.image" -}}
{{ .repository }}:{{ .tag }}
{{- end }}

{{- define "mlops-assets.databaseUrl" -}}
{{- $host := ternary (printf "%s-postgresql" .Release.Name) .Values.postgresql.postgresqlHost .Values.postgresql.enabled -}}
postgresql://{{ .Values.postgresql.postgresqlUsername }}@{{ $host }}:{{ .Values.postgresql.service.port }}
{{- end }}

{{- define "mlops-assets.influxUrl" -}}
{{ ternary (printf "http://%s-influxdb:8086" .Release.Name) .Values.influxdb.url .Values.influxdb.enabled }}
{{- end }}

{{- define "mlops-assets.bucket" -}}
{{ ternary "mlops" .Values.bucket.name .Values.bucket.emulator.enabled }}
{{- end }}

{{/* All pods run as an unprivileged user, without any rights on the node. */}}
{{- define "mlops-assets.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mlops-assets.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "mlops-assets.envFrom" -}}
- configMapRef: {name: {{ .Release.Name }}-env}
- secretRef: {name: {{ .Values.secretName }}}
{{- end }}

{{- define "mlops-assets.volumes" -}}
- name: state
  persistentVolumeClaim: {claimName: {{ include "mlops-assets.claim" . }}}
- name: endpoint
  configMap: {name: {{ .Release.Name }}-endpoint}
{{- end }}

{{- define "mlops-assets.mounts" -}}
- {name: state, mountPath: /var/lib/mlops-assets}
- {name: endpoint, mountPath: /etc/mlops-assets}
{{- end }}

{{/* Pods are replaced when their configuration changes. */}}
{{- define "mlops-assets.checksum" -}}
checksum/config: {{ include (print .Template.BasePath "/config.yaml") . | sha256sum }}
{{- end }}
