/** The folder that the model is in, for `LanguageModel.load` of routed-attention: a file URL, or in a page an http one. */
declare const folder: URL
export default folder
