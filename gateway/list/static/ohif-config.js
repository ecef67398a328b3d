// OHIF's configuration under this gateway: one data source, nothing from elsewhere, no questions in the way.
// It works at any host and port, since every address is relative to the page's own.
window.config = {
  name: 'Firstread',
  routerBasename: '/viewer',
  extensions: [],
  modes: [],
  customizationService: [{ 'ohif.tours': { $set: [] } }],
  showStudyList: true,
  showErrorDetails: 'always',
  showCPUFallbackMessage: true,
  showWarningMessageForCrossOrigin: false,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
  // Boxes of an AI findings report become measurements at once, without a question for each report.
  disableConfirmationPrompts: true,
  defaultDataSourceName: 'firstread',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'firstread',
      configuration: {
        friendlyName: 'The PACS behind Firstread',
        name: 'firstread',
        qidoRoot: `${window.location.origin}/dicom-web`,
        wadoRoot: `${window.location.origin}/dicom-web`,
        wadoUriRoot: `${window.location.origin}/dicom-web`,
        qidoSupportsIncludeField: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsReject: false,
        dicomUploadEnabled: false,
        enableStudyLazyLoad: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors', // Orthanc draws no thumbnails
        singlepart: 'video', // Orthanc answers bulk data as multipart
        omitQuotationForMultipartRequest: false,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
