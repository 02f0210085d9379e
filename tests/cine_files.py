"""Writes cines: pages, videos and DICOM."""

import cv2
from PIL import Image

# Long, because the compressed bytes of a picture may spell a short name by chance.
SURNAME = "Mustermann"
NAME = f"{SURNAME}^Jane"
PATIENT = "PATIENT-123456"


def write_pages(path, images, compression="tiff_lzw"):
    pages = [Image.fromarray(image) for image in images]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
    return path


def write_video(path, images, codec="MJPG", rate=12):
    size = images[0].shape[::-1]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, size)
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    video.release()
    return path


def write_dicom(path, pixels, photometric="MONOCHROME2", bits=None, **tags):
    """A DICOM of `pixels`: `(rows, columns)`, or with frames in front, or colours behind."""
    import pydicom

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UltrasoundMultiFrameImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.PatientName = NAME
    dataset.PatientID = PATIENT
    colours = pixels.shape[-1] == 3
    if pixels.ndim == 3 + colours:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 3 if colours else 1
    if colours:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape[-2 - colours :][:2]
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path
