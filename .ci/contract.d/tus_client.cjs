// A client that uploads with tus-js-client, for files.py: node tus_client.cjs ENDPOINT FILE PIECE [URL]
const fs = require("fs");
const tus = require("tus-js-client");

const [endpoint, file, piece, url] = process.argv.slice(2);
const say = (word, value) => process.stdout.write(`${word} ${value}\n`);
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  uploadUrl: url || null,
  uploadSize: fs.statSync(file).size,
  chunkSize: Number(piece),
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
  metadata: { filename: "tus-js-client.bin", filetype: "application/octet-stream" },
  // It outlives a home that is killed and started again.
  retryDelays: [250, 500, 1000, 2000, 4000, 8000, 8000],
  onUploadUrlAvailable: () => say("url", upload.url),
  onChunkComplete: (_size, accepted) => say("at", accepted),
  onSuccess: () => say("whole", upload.url),
  onError: (error) => {
    process.stderr.write(`${error}\n`);
    process.exit(1);
  },
});
upload.start();
