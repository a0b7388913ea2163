"""A client that uploads with tuspy, for files.py: python tus_client.py ENDPOINT FILE PIECE [URL]"""

import os
import sys

from tusclient.client import TusClient

endpoint, file, piece, *url = sys.argv[1:]
client = TusClient(endpoint, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
metadata = {"filename": "tuspy.bin", "filetype": "application/octet-stream"}
upload = client.uploader(
    file,
    chunk_size=int(piece),
    url=url[0] if url else None,
    metadata=metadata,
    # In pieces that break off a checksum keeps nothing: those go without.
    upload_checksum="CHECKSUMS" in os.environ,
)
if not upload.url:
    upload.set_url(upload.create_url())
print("url", upload.url, flush=True)
while upload.offset < upload.get_file_size():
    upload.upload_chunk()
    print("at", upload.offset, flush=True)
print("whole", upload.url, flush=True)
